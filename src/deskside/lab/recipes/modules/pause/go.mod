module deskside/recipes/pause

go 1.26.0
