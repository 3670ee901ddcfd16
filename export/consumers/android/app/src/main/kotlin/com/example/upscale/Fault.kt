package com.example.upscale

/** What the user reads in one line: the rule, what came, what to do. */
class Fault(message: String, cause: Throwable? = null) : Exception(message, cause)
