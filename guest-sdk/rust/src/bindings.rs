//! Bindings that wit-bindgen generates from the WIT. The rest of the crate wraps them.
#![allow(missing_docs, unreachable_pub, unsafe_code, clippy::all)]

/// The calls. wit-bindgen links each only where it is used.
pub mod calls {
    wit_bindgen::generate!({
        path: "wit",
        world: "wharf:guest-sdk/calls",
        generate_all,
    });
}

/// `export_handler!`, which `#[handler]` invokes in the guest's crate.
pub mod handling {
    wit_bindgen::generate!({
        path: "wit",
        world: "wharf:guest-sdk/handling",
        with: { "wharf:nats/types@0.2.0": crate::bindings::calls::wharf::nats::types },
        default_bindings_module: "::wharf_guest::__private::handling",
        export_macro_name: "export_handler",
        pub_export_macro: true,
    });
}

/// `export_lifecycle!`, which `#[lifecycle]` invokes in the guest's crate.
pub mod living {
    wit_bindgen::generate!({
        path: "wit",
        world: "wharf:guest-sdk/living",
        default_bindings_module: "::wharf_guest::__private::living",
        export_macro_name: "export_lifecycle",
        pub_export_macro: true,
    });
}
