//! What may be done. Each permission is a type, so that a handler's signature names the one it needs.

use facesocial_store::Role;

/// Something that may be done: a type without values.
pub trait Permission: 'static {
    /// Name as a scope of API keys.
    const NAME: &'static str;
    /// The role of fewest rights that has it; those above have it too.
    const LEAST: Role;
}

/// Whether `role` has what needs at least `least`.
pub fn role_has(role: Role, least: Role) -> bool {
    // Roles are ordered from the most rights to the fewest.
    role <= least
}

macro_rules! permissions {
    ($($(#[$meta:meta])* $name:ident = $scope:literal, $least:ident;)+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Permission for $name {
                const NAME: &'static str = $scope;
                const LEAST: Role = Role::$least;
            }
        )+

        /// Every permission: its name, and the role of fewest rights that has it.
        pub const ALL: &[(&str, Role)] = &[$(($scope, Role::$least)),+];
    };
}

permissions! {
    /// Detects and analyses photos that come with the request.
    Analyze = "analyze", ReadOnly;
    /// Verifies and identifies against a collection.
    Search = "search", ReadOnly;
    /// Looks at collections, persons and faces.
    GalleryRead = "gallery:read", ReadOnly;
    /// Enrols, changes and deletes persons and faces.
    GalleryWrite = "gallery:write", User;
    /// Makes and deletes collections.
    CollectionsWrite = "collections:write", Operator;
    /// Exports and forgets everything about a person.
    Privacy = "privacy", Operator;
    /// Is given embeddings as numbers, out of which a picture like the face can be made.
    Embeddings = "embeddings", Operator;
    /// Looks at stored analyses: one's own; from operators on, all.
    HistoryRead = "history:read", User;
    /// Stores and deletes analyses.
    HistoryWrite = "history:write", User;
    /// Starts, follows and stops jobs.
    Jobs = "jobs", User;
    /// Looks after the server: figures, settings, models.
    Operate = "operate", Operator;
    /// Reads the audit trail.
    Audit = "audit", Admin;
    /// Makes, changes and deletes accounts.
    Users = "users", Admin;
    /// Makes and ends API keys: one's own; admins, all.
    Keys = "keys", User;
    /// Looks at one's own account and changes it.
    Account = "account", ReadOnly;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_role_has_what_is_decided_on_purpose() {
        let of = |role| {
            let had = ALL.iter().filter(|(_, least)| role_has(role, *least));
            had.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(Role::ReadOnly), "analyze search gallery:read account");
        assert_eq!(
            of(Role::User),
            "analyze search gallery:read gallery:write history:read history:write jobs keys account"
        );
        assert_eq!(
            of(Role::Operator),
            "analyze search gallery:read gallery:write collections:write privacy embeddings history:read history:write \
             jobs operate keys account"
        );
        assert_eq!(of(Role::Admin).split(' ').count(), ALL.len());
    }
}
