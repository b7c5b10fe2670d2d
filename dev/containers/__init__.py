"""`make stack-test`: the stack of docker-compose.yaml brought up, used and checked from outside, and taken down."""
