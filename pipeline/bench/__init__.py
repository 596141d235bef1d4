"""Build a bench from a workspace, and replay search schemes against one. `msinet.bench` reads the file."""
