//! What pictures look like: fields, colours, shapes, codecs.

mod blank;
mod codecs;
mod colors;
mod dolby;
mod fields;
mod patches;
mod quality;
mod shapes;
