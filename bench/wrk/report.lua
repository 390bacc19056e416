-- What every run of wrk begins with: the workload's own script, then one line with what wrk's report leaves out.
local script = os.getenv("BENCH_WRK_SCRIPT")
if script and script ~= "" then
  dofile(script)
end

function done(summary, latency, requests)
  io.write(string.format("Also (us): mean %.3f p99.9 %d max %d\n", latency.mean, latency:percentile(99.9), latency.max))
end
