"""What an adapter is made of: operations, context, backend client, links, errors, and the doors to zeep and lxml."""
