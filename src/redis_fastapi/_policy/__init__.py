"""From an endpoint's signature and declaration to the policy of its route."""
