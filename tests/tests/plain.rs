//! Templates that know nothing about video, with plain functions, on the real `fanreel up`.

#[path = "plain/chain.rs"]
mod chain;
#[path = "plain/clients.rs"]
mod clients;
#[path = "plain/clock.rs"]
mod clock;
