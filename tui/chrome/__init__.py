"""What frames every screen: header, footer, command line."""
