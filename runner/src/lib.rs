//! The workshop: takes a bundle and runs it. So far: the networks of containers.

pub mod network;
