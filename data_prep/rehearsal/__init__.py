"""What a rehearsal has in the place of what others bring: text that a machine generated, and an API's answers."""
