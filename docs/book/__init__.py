"""The book: pages in en/ and zh/, the examples they show, and build.py, which writes what is generated in them."""
