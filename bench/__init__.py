"""The comparison with other servers: definitions, load, measurements, tables. Not distributed."""
