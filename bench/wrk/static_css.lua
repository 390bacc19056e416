-- A static file of 5 KiB.
wrk.path = "/static/site.css"
