//! Tests that need the insides of the driver.
