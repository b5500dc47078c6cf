"""The Edge TPU: facts, operator rules, the check and the compiler."""
