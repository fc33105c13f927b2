"""What the domain needs from the outside, as small protocols with their guarantees."""
