-- One request in 50 asks for the slow answer.
local fast, slow
local count = 0

function init(args)
  fast = wrk.format("GET", "/")
  slow = wrk.format("GET", "/slow")
end

function request()
  count = count + 1
  if count % 50 == 0 then
    return slow
  end
  return fast
end
