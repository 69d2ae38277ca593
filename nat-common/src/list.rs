//! Lists in which every fact stands in one line: the number, the name that programs read, and the text for people.

/// Makes an enum of a list of lines `number Variant "name" "text"`. The lines are in the order of their numbers, which count
/// from 0 without a gap; the compiler refuses anything else. The text is also the variant's documentation, and comments may
/// stand above a line.
///
/// It brings `ALL`, `name`, `text`, `from_number`, and the tests that no two lines share a name and that no text is missing.
macro_rules! list {
    (
        $(#[$about:meta])*
        $list:ident {
            $($(#[$more:meta])* $number:literal $variant:ident $name:literal $text:literal)+
        }
        tests in $tests:ident
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $list {
            $(
                #[doc = $text]
                $(#[$more])*
                $variant = $number,
            )+
        }

        impl $list {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; [$($number),+].len()] = [$(Self::$variant),+];

            /// From its number.
            #[inline(always)]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// Name in JSON and metric labels.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One line for a person who wonders about the name.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        // Numbers are indices into pinned arrays of counters.
        const _: () = {
            let mut index = 0;
            while index < $list::ALL.len() {
                assert!($list::ALL[index] as usize == index, "the numbers count from 0, in order and without a gap");
                index += 1;
            }
        };

        #[cfg(test)]
        mod $tests {
            use super::$list;

            #[test]
            fn lines_have_names_of_their_own_and_a_text() {
                let mut names = std::collections::HashSet::new();
                for line in $list::ALL {
                    assert!(names.insert(line.name()), "{} stands there twice", line.name());
                    assert!(!line.text().is_empty(), "{}", line.name());
                    assert!(line.name().bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{}", line.name());
                    assert_eq!($list::from_number(line as u32), Some(line));
                }
                assert_eq!($list::from_number($list::ALL.len() as u32), None);
            }
        }
    };
}
pub(crate) use list;
