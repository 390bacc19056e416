GREETING = "welcome"
