plugins {
    id("com.android.application")
}

android {
    namespace = "com.example.upscale"
    compileSdk = 36

    defaultConfig {
        applicationId = "com.example.upscale"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

dependencies {
    implementation("com.google.ai.edge.litert:litert:2.3.0")
    // The GPU accelerator is an artifact of its own since 2.3.0; without it the app runs on the CPU.
    implementation("com.google.ai.edge.litert:litert-gpu:2.3.0")
    implementation("androidx.activity:activity:1.10.1")
    testImplementation("junit:junit:4.13.2")
}
