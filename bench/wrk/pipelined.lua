-- 16 requests at once, and their 16 answers before the next 16.
local DEEP = 16
local all

function init(args)
  local one = {}
  for i = 1, DEEP do
    one[i] = wrk.format("GET", "/")
  end
  all = table.concat(one)
end

function request()
  return all
end
