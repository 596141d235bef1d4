"""The reports for people: tables, pages, and the lines that a running grid prints."""
