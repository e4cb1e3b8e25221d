-- Which actions make sense now.
local phase = (obj.status or {}).phase
local suspended = obj.spec.suspend == true
local over = phase == "Completed" or phase == "Failed"
return {
  retry = {disabled = not over},
  suspend = {disabled = suspended or over},
  resume = {disabled = not suspended},
}
