"""What goes in: the files that ``data.input`` and ``data.sources`` mean, cut into units, and the documents in them."""
