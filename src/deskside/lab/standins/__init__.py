"""Programs that run on hosts of a rack in place of what their kernel lacks; each says so itself."""
