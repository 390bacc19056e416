-- A static file of 200 KiB.
wrk.path = "/static/site.js"
