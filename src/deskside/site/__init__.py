"""Floor 0: the site file, its types, its secrets and the trains. Imports nothing of Deskside but `errors`."""
