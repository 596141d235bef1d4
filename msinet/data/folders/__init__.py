"""Folders of one's own pictures: which identity, camera and subset a path names, and how a manifest lists them."""
