-- Start and buy nothing new.
obj.spec.suspend = true
return obj
