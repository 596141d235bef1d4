"""The verbs that take a model away: export, verify, embed, search-gallery."""
