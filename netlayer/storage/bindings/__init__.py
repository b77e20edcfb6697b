"""Where bootstrap nodes keep which key an id belongs to."""
