//! A log that several front ends share, over a real PostgreSQL and a stand-in for S3.

mod append;
mod failover;
mod faults;
mod front_end;
mod leave;
mod proxy;
mod stage;
