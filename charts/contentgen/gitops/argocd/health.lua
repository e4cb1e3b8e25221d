-- The health of a LoraTraining, an ImageGeneration or a Transcription, as kstatus has it, with Suspended told apart.
local health = {status = "Progressing", message = "waiting for the operator"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  health.message = "an edit waits for the operator, or for the end of the run before it"
  return health
end
health.message = status.message or status.reason or ""
local is = {}
for _, condition in ipairs(status.conditions) do
  is[condition.type] = condition.status == "True"
end
if is.Stalled then
  health.status = "Degraded"
elseif is.Suspended then
  health.status = "Suspended"
elseif is.Ready then
  health.status = "Healthy"
end
return health
