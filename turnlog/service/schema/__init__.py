"""The OpenAPI document of the service, made from its routes, and the page to browse it."""
