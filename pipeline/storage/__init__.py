"""Where results live: stores of files, leases, and the workspace in them."""
