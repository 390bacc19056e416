-- A browser's 13 header fields whose values differ from request to request, as they do between visitors: cookie,
-- referer, browser version, languages. 4,099 requests (a prime) are made before the clock starts, and each gets a number
-- in its cookie when it is sent: no two are alike, so no cache of whole heads can answer, and wrk spends little on it.
local COUNT = 4099
local before, after = {}, {}
local sent = 0

function init(args)
  math.randomseed(20090610)
  local languages = { "en-GB,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "fr,en;q=0.8", "es-ES,es;q=0.9", "ja,en;q=0.5" }
  for i = 1, COUNT do
    local major = math.random(120, 140)
    local session = {}
    for part = 1, 4 do
      session[part] = string.format("%08x", math.random(0, 2147483647))
    end
    local whole = wrk.format("GET", "/", {
      ["Host"] = "127.0.0.1:" .. wrk.port,
      ["Connection"] = "keep-alive",
      ["Cache-Control"] = "max-age=" .. math.random(0, 600),
      ["sec-ch-ua"] = string.format('"Chromium";v="%d", "Not=A?Brand";v="%d"', major, math.random(8, 99)),
      ["sec-ch-ua-mobile"] = "?" .. math.random(0, 1),
      ["sec-ch-ua-platform"] = ({ '"Linux"', '"Windows"', '"macOS"' })[math.random(1, 3)],
      ["Upgrade-Insecure-Requests"] = "1",
      ["User-Agent"] = string.format(
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.%d.0 Safari/537.36",
        major, math.random(1000, 9999)),
      ["Accept"] = string.format(
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.%d", math.random(1, 9)),
      ["Referer"] = "http://127.0.0.1/catalogue/page/" .. math.random(1, 99999),
      ["Accept-Encoding"] = "gzip, deflate, br, zstd",
      ["Accept-Language"] = languages[math.random(1, #languages)],
      ["Cookie"] = "session=" .. table.concat(session) .. "; visit=@; consent=" .. math.random(0, 1),
    })
    local mark = whole:find("@", 1, true)
    before[i], after[i] = whole:sub(1, mark - 1), whole:sub(mark + 1)
  end
end

function request()
  sent = sent + 1
  local i = sent % COUNT + 1
  return before[i] .. sent .. after[i]
end
