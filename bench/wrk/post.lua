-- Posts the document that the harness names.
local source = assert(io.open(os.getenv("BENCH_WRK_BODY"), "rb"))
wrk.method = "POST"
wrk.body = source:read("*a")
wrk.headers["Content-Type"] = "application/json"
source:close()
