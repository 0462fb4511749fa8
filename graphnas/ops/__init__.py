"""The operation registry: name -> how to build it, what shape it gives, what it costs."""
