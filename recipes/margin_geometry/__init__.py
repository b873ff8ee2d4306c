"""Small experiments of the papers, mostly in two dimensions, that show how losses change angles."""
