"""What runs in a worker process of a service: one job after another, with warm networks."""
