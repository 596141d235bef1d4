"""The place of results: stores of files, leases, and the workspace in a store."""
