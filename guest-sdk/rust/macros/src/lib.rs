//! The attributes of `wharf-guest`, which says what they are for.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, ItemFn, ItemImpl, Result, Signature, parse_macro_input};

/// Makes a function the guest's handler of messages.
///
/// Its parameters are the payload, as any type that implements `serde::Deserialize`, `&Message`, both or neither. It
/// returns `()`, a value that is the reply, a `Reply`, an `Option` of these, or a `Result` of any of them.
///
/// A payload that cannot be read as the parameter's type is rejected; the function is not called. Any other error asks
/// for a retry unless it says otherwise. A crate has one handler.
///
/// ```no_run
/// use wharf_guest::prelude::*;
///
/// #[wharf_guest::handler]
/// fn double(number: i64, message: &Message) -> Result<Option<i64>> {
///     log::info!("{number} on {}", message.subject);
///     Ok(number.checked_mul(2))
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    expand(
        no_options("handler", &options).and_then(|()| handler_of(&function)),
        quote!(#function),
    )
}

/// Makes an `impl Lifecycle` what is called when the guest goes into and out of service.
///
/// ```no_run
/// use wharf_guest::prelude::*;
///
/// struct Orders;
///
/// #[wharf_guest::lifecycle]
/// impl Lifecycle for Orders {
///     fn start() -> Result<()> {
///         subscribe("orders.*")?;
///         Ok(())
///     }
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn lifecycle(options: TokenStream, item: TokenStream) -> TokenStream {
    let implementation = parse_macro_input!(item as ItemImpl);
    let exported = no_options("lifecycle", &options).and_then(|()| lifecycle_of(&implementation));
    expand(exported, quote!(#implementation))
}

/// The item as it was, followed by its export or by what is wrong with it.
fn expand(exported: Result<Tokens>, item: Tokens) -> TokenStream {
    let exported = exported.unwrap_or_else(Error::into_compile_error);
    quote!(#item #exported).into()
}

fn handler_of(function: &ItemFn) -> Result<Tokens> {
    check_signature(&function.sig)?;
    let name = &function.sig.ident;
    // The parameter's own span, so that a type that cannot be one is what the compiler points at.
    let arguments = function
        .sig
        .inputs
        .iter()
        .map(|input| quote_spanned!(input.span()=> sdk::argument(message)?));
    let returned = quote_spanned!(function.sig.output.span()=> sdk::Returned(sdk::Returned(returned).result()?).reply());
    Ok(quote! {
        #[allow(unsafe_code, clippy::all, clippy::pedantic)]
        const _: () = {
            use ::wharf_guest::__private as sdk;
            #[allow(unused_imports)]
            use sdk::{NotResult as _, Replies as _};

            struct __Guest;

            impl sdk::Handler for __Guest {
                #[allow(unused_variables)]
                fn handle(message: &sdk::Message) -> sdk::Handled {
                    let returned = #name(#(#arguments),*);
                    #returned
                }
            }

            // Elsewhere than in a component, where its names mean nothing to the linker, it is used all the same.
            const _: fn(&sdk::Message) -> sdk::Handled = <__Guest as sdk::Handler>::handle;
            #[cfg(target_arch = "wasm32")]
            sdk::handling::export_handler!(__Guest with_types_in sdk::handling);
        };
    })
}

fn check_signature(signature: &Signature) -> Result<()> {
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new(
            asyncness.span(),
            "a handler is not async: its calls to the host wait by themselves",
        ));
    }
    if let Some(parameter) = signature.generics.type_params().next() {
        return Err(Error::new(
            parameter.span(),
            "a handler is not generic: the payload's type must be known",
        ));
    }
    if let Some(receiver) = signature.receiver() {
        return Err(Error::new(
            receiver.span(),
            "a handler is a function, not a method: every instance has one",
        ));
    }
    Ok(())
}

fn lifecycle_of(implementation: &ItemImpl) -> Result<Tokens> {
    if implementation.trait_.is_none() {
        return Err(Error::new(
            implementation.span(),
            "`#[lifecycle]` goes on `impl Lifecycle for …`",
        ));
    }
    let guest = &implementation.self_ty;
    Ok(quote! {
        #[allow(unsafe_code, clippy::all, clippy::pedantic)]
        const _: () = {
            use ::wharf_guest::__private as sdk;
            type __Guest = #guest;
            const _: fn() = <__Guest as sdk::Lifecycle>::stop;
            #[cfg(target_arch = "wasm32")]
            sdk::living::export_lifecycle!(__Guest with_types_in sdk::living);
        };
    })
}

fn no_options(attribute: &str, options: &TokenStream) -> Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Tokens::from(options.clone()).span(),
        format!("`#[{attribute}]` takes no options"),
    ))
}
