-- One more paid run of the same inputs.
local annotations = obj.metadata.annotations or {}
annotations["contentgen.dev/rerun"] = os.date("!%Y-%m-%dT%XZ")
obj.metadata.annotations = annotations
return obj
