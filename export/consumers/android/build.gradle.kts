// From version 9 on the Android plugin compiles Kotlin itself.
plugins {
    id("com.android.application") version "9.1.0" apply false
}
