//! The walls between the modules of a crate: who imports whom, and what the map of the code says of it.
//!
//! An import is any path to an item of the same crate outside of comments, strings and `#[cfg(test)]`, in a `use` or
//! inline, also within the arguments of a macro. It leads to the file that defines the item, through re-exports. A `mod`
//! and a re-export are none; a re-exported name that its own file uses is one.

mod circles;
mod map;
mod source;
mod tree;

pub use map::Map;
pub use tree::Tree;
