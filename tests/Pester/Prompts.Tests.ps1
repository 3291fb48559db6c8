BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    . (Join-Path $PSScriptRoot 'ScriptedHost.ps1')
    $source = Join-Path $TestDrive 'source'
    New-SourceTree $source
    $secret = ConvertTo-SecureString 'right' -AsPlainText -Force
    $locked = (New-BackupImage $source (Join-Path $TestDrive 'locked.sparsebundle') -SizeBytes 40MB -Encryption Aes128 -Passphrase $secret).Path
    $second = (New-BackupImage $source (Join-Path $TestDrive 'second.sparseimage') -SizeBytes 40MB -Encryption Aes128 -Passphrase $secret).Path
    $third = (New-BackupImage $source (Join-Path $TestDrive 'third.dmg') -Encryption Aes128 -Passphrase (ConvertTo-SecureString 'third' -AsPlainText -Force)).Path
    $plain = (New-BackupImage $source (Join-Path $TestDrive 'plain.sparseimage') -SizeBytes 40MB).Path
    $commands = @{
        'Get-BackupImageItem' = "Get-BackupImageItem '{0}'"
        'Test-BackupImage' = "Test-BackupImage '{0}'"
        'Compress-BackupImage' = "Compress-BackupImage '{0}'"
        'Resize-BackupImage' = "Resize-BackupImage '{0}' -SizeBytes 80MB -WhatIf" # what a block creates in TestDrive, new bands too, Pester removes
        'Restore-BackupImage' = "Restore-BackupImage '{0}' '$(Join-Path $TestDrive 'restored')' -Force"
        'ConvertTo-ReadOnlyImage' = "ConvertTo-ReadOnlyImage '{0}' '$(Join-Path $TestDrive 'converted.dmg')' -Force"
        'Set-BackupImagePassphrase' = "Set-BackupImagePassphrase '{0}' -NewPassphrase (ConvertTo-SecureString right -AsPlainText -Force) -PassThru"
    }
}

Describe 'The passphrase that <_> needs and did not get' -ForEach @(
    'Get-BackupImageItem', 'Test-BackupImage', 'Compress-BackupImage', 'Resize-BackupImage', 'Restore-BackupImage', 'ConvertTo-ReadOnlyImage', 'Set-BackupImagePassphrase'
) {
    It 'is asked for, and again when it is wrong' {
        $run = Invoke-Attended ($commands[$_] -f $locked) 'wrong', 'right'
        $run.ErrorIds | Should -BeNullOrEmpty
        $run.Output | Should -Not -BeNullOrEmpty
        $run.Left | Should -Be 0
        $run.Text | Should -Match 'Passphrase of locked\.sparsebundle: The passphrase does not open the image\.\r?\nPassphrase of locked\.sparsebundle: $'
    }

    It 'is asked for three times, and no more' {
        $run = Invoke-Attended ($commands[$_] -f $locked) 'wrong', '', 'also wrong', 'right'
        $run.ErrorIds | Should -Be 'WrongPassphrase'
        $run.Output | Should -BeNullOrEmpty
        $run.Left | Should -Be 1
    }

    It 'is PassphraseRequired where nobody can be asked' {
        $run = Invoke-Unattended ($commands[$_] -f $locked)
        $run.ErrorIds | Should -Be 'PassphraseRequired'
        $run.Errors[0].ErrorDetails.RecommendedAction | Should -Match '-Passphrase'
    }

    It 'is not asked for where the image needs none' {
        $run = Invoke-Attended ($commands[$_] -f $plain) 'unused'
        $run.Left | Should -Be 1
        $run.ErrorIds | Should -Be ($_ -eq 'Set-BackupImagePassphrase' ? 'InvalidArgument' : @())
    }
}

Describe 'Prompts' {
    It 'leave Get-BackupImage a look at a locked image' {
        $run = Invoke-Attended "Get-BackupImage '$locked'" 'right'
        $run.Output.IsLocked | Should -BeTrue
        $run.Left | Should -Be 1
        $run.Text | Should -BeNullOrEmpty
    }

    It 'do not ask again for what opens the next image, and ask where it does not' {
        $run = Invoke-Attended "'$locked', '$plain', '$second', '$third' | Test-BackupImage" 'right', 'third'
        $run.ErrorIds | Should -BeNullOrEmpty
        $run.Output | Should -Be $true, $true, $true, $true
        $run.Left | Should -Be 0
    }

    It 'of one image that nobody opens leave the next its turn' {
        $run = Invoke-Attended "'$third', '$second' | Test-BackupImage" 'a', 'b', 'c', 'right'
        $run.ErrorIds | Should -Be 'WrongPassphrase'
        $run.Output | Should -Be $true
    }

    It 'do not ask what -WhatIf does not need' {
        $run = Invoke-Attended "Set-BackupImagePassphrase '$locked' -WhatIf" 'right'
        $run.Left | Should -Be 1
        $run.ErrorIds | Should -BeNullOrEmpty
    }

    It 'show no control characters of a name' -Skip:$IsWindows {
        $odd = Join-Path $TestDrive "odd`e]2.dmg"
        Move-Item -LiteralPath (New-BackupImage $source (Join-Path $TestDrive 'odd.dmg') -Encryption Aes128 -Passphrase $secret).Path $odd
        (Invoke-Attended "Test-BackupImage -LiteralPath '$odd'" 'right').Text | Should -Match ([regex]::Escape('Passphrase of odd?]2.dmg: '))
    }

    It 'for a new passphrase begin again when the two differ or it is empty: <Command>' -ForEach @(
        @{ Command = 'New-BackupImage'; Script = { "New-BackupImage '$source' '$(Join-Path $TestDrive 'new.dmg')' -Encryption Aes128" } }
        @{ Command = 'ConvertTo-ReadOnlyImage'; Script = { "ConvertTo-ReadOnlyImage '$plain' '$(Join-Path $TestDrive 'new.dmg')' -Encryption Aes128" } }
        @{ Command = 'Set-BackupImagePassphrase'; Script = { "Set-BackupImagePassphrase '$(Join-Path $TestDrive 'new.dmg')' -Passphrase (ConvertTo-SecureString new -AsPlainText -Force) -PassThru" } }
    ) {
        $target = Join-Path $TestDrive 'new.dmg'
        if ($Command -ne 'Set-BackupImagePassphrase') { Remove-Item $target -ErrorAction Ignore }
        $run = Invoke-Attended (& $Script) 'new', 'nwe', '', 'new', 'new'
        $run.ErrorIds | Should -BeNullOrEmpty
        $run.Left | Should -Be 0
        $run.Text | Should -Match 'The two passphrases differ\.\r?\n.*The passphrase is empty\.'
        Test-BackupImage $target -Passphrase (ConvertTo-SecureString 'new' -AsPlainText -Force) | Should -BeTrue
    }

    It 'for a new passphrase give up after three times' {
        $target = Join-Path $TestDrive 'never.dmg'
        $run = Invoke-Attended "try { New-BackupImage '$source' '$target' -Encryption Aes128 } catch { `$_.FullyQualifiedErrorId }" 'a', 'b', 'a', 'b', 'a', 'b', 'a', 'a'
        $run.Output | Should -BeLike 'InvalidArgument,*'
        $run.Left | Should -Be 2
        $target | Should -Not -Exist
    }

    It 'refuse a passphrase from two places, in every cmdlet, before anything else: <_>' -ForEach @(
        'Compress-BackupImage', 'Get-BackupImage', 'Get-BackupImageItem', 'Mount-BackupImage', 'Resize-BackupImage', 'Test-BackupImage'
    ) {
        { & $_ $locked -Passphrase $secret -FromKeychain } | Should -Throw -ErrorId 'InvalidArgument,*' -ExpectedMessage '*Two places*'
    }
}

Describe '-Confirm' {
    It 'asks who is there: <Answer>' -ForEach @{ Answer = '0'; Made = $true }, @{ Answer = '2'; Made = $false } {
        $target = Join-Path $TestDrive "confirmed-$Answer.dmg"
        (Invoke-Attended "New-BackupImage '$source' '$target' -Confirm" $Answer).ErrorIds | Should -BeNullOrEmpty
        Test-Path $target | Should -Be $Made
    }

    It 'where nobody is, is an error that says what to give, and nothing is done: <Name>' -ForEach @(
        @{ Name = 'New-BackupImage'; Script = { "New-BackupImage '$source' '$target' -Confirm" } }
        @{ Name = 'Restore-BackupImage'; Script = { "Restore-BackupImage '$plain' '$target' -Confirm" } }
        @{ Name = 'ConvertTo-ReadOnlyImage'; Script = { "ConvertTo-ReadOnlyImage '$plain' '$target' -Confirm" } }
        @{ Name = 'Compress-BackupImage'; Script = { "Compress-BackupImage '$plain' -Confirm -Force" } }
        @{ Name = 'Resize-BackupImage'; Script = { "Resize-BackupImage '$plain' -SizeBytes 60MB -Confirm" } }
        @{ Name = 'Test-BackupImage'; Script = { "Test-BackupImage '$plain' -Repair -Confirm" } }
        @{ Name = 'by preference'; Script = { "`$ConfirmPreference = 'Low'; Resize-BackupImage '$plain' -SizeBytes 60MB" } }
    ) {
        $target = Join-Path $TestDrive 'unconfirmed.dmg'
        $before = (Get-FileHash $plain).Hash
        $run = Invoke-Unattended "try { $(& $Script) -ErrorAction Stop } catch { `$_ }"
        $run.Output.FullyQualifiedErrorId | Should -BeLike 'ConfirmationRequired,*'
        $run.Output.ErrorDetails.RecommendedAction | Should -Match '-Confirm:\$false.*-WhatIf'
        $target | Should -Not -Exist
        (Get-FileHash $plain).Hash | Should -Be $before
    }

    It 'without a terminal is the same error: <Name>' -ForEach @{ Name = 'not interactive'; Arguments = @('-NonInteractive') }, @{ Name = 'at the end of the input'; Arguments = @() } {
        $script = "Import-Module '$ManifestPath'; try { Resize-BackupImage '$plain' -SizeBytes 60MB -Confirm -ErrorAction Stop } catch { `$_.FullyQualifiedErrorId }"
        Invoke-PowerShell $script $Arguments | Should -Match 'ConfirmationRequired,'
    }
}
