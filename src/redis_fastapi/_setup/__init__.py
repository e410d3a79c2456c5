"""What setting up does to an application: routes, middleware, OpenAPI document."""
