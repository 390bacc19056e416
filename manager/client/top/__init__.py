"""`miniwsgictl top`: a feed of snapshots, a model of the screen, a view that draws it, keys that change it."""
