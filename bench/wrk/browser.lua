-- A browser's 13 header fields, the same in every request.
wrk.headers["Connection"] = "keep-alive"
wrk.headers["Cache-Control"] = "max-age=0"
wrk.headers["sec-ch-ua"] = '"Chromium";v="140", "Not=A?Brand";v="24"'
wrk.headers["sec-ch-ua-mobile"] = "?0"
wrk.headers["sec-ch-ua-platform"] = '"Linux"'
wrk.headers["Upgrade-Insecure-Requests"] = "1"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
wrk.headers["Referer"] = "http://127.0.0.1/catalogue/page/1"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8"
wrk.headers["Cookie"] = "session=0f1e2d3c4b5a69788796a5b4c3d2e1f0; theme=dark; consent=1"
-- the thirteenth, Host, is wrk's own
