"""The store in ClickHouse: its tables, its queries and the HTTP door to a chDB directory."""
