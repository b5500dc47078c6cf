"""What a network costs: operations, bytes, estimated milliseconds."""
