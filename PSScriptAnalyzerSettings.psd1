@{
    ExcludeRules = @(
        # The build talks to a person.
        'PSAvoidUsingWriteHost'
        # Pester: variables set in BeforeAll are used in It, and functions of tests are no cmdlets. Secrets of tests are none.
        'PSUseDeclaredVarsMoreThanAssignments'
        'PSUseShouldProcessForStateChangingFunctions'
        'PSAvoidUsingConvertToSecureStringWithPlainText'
        'PSUseUsingScopeModifierInNewRunspaces'
        'PSReviewUnusedParameter'
        # Positional arguments of our own short functions read well; "Metadata" is no plural.
        'PSAvoidUsingPositionalParameters'
        'PSUseSingularNouns'
        # UTF-8 without a mark is what every PowerShell 7 reads.
        'PSUseBOMForUnicodeEncodedFile'
    )
}
